package org.apache.spark.sql.delta.sessions_assets

import java.util.{List => JavaList, Map => JavaMap}

import scala.jdk.CollectionConverters._

import org.apache.spark.sql.{DataFrame, SaveMode, SparkSession}
import org.apache.spark.sql.catalyst.expressions.{Expression, Literal}
import org.apache.spark.sql.delta.{DeltaConcurrentModificationException, DeltaLog, DeltaOperations, OptimisticTransaction}
import org.apache.spark.sql.delta.actions.{Action, AddFile, SetTransaction}
import org.apache.spark.sql.delta.commands.{DMLWithDeletionVectorsHelper, DeletionVectorBitmapGenerator}
import org.apache.spark.sql.delta.stats.StatsCollectionUtils
import org.apache.spark.sql.execution.metric.SQLMetrics
import org.apache.spark.sql.functions.col

/** Somebody else has written the table since the version that was read; nothing was committed. */
class OvertakenException(cause: Throwable) extends RuntimeException("overtaken", cause)

/** Other rows than were counted would be added or superseded; nothing was committed. */
class WrongCountsException(val added: Long, val superseded: Long) extends RuntimeException("wrong counts")

/** What a commit is known by: its version, and the id that Delta gives its transaction. */
case class Committed(version: Long, txnId: String)

/** The commits that Delta's public interface has no call for; everything here is internal to Delta.
  *
  * Compiled against the pinned Delta jar, so that another Delta fails at set-up with a compiler's error.
  */
object RowCommit {
  private val Application = "sessions_assets"

  /** Append rows and mark superseded ones in deletion vectors, in one commit that directly follows a version.
    *
    * @param path of the table, which has deletion vectors
    * @param readVersion the version from which the changes were computed
    * @param rows the columns of the table: what is inserted, and the new values of what is updated
    * @param superseded STRING `file` and LONG `row_index` of the rows that are updated or deleted
    * @param within SQL on partition columns that holds for all superseded rows
    * @param notes what the commit notes of itself
    */
  def commitRows(path: String, readVersion: Long, rows: DataFrame, superseded: DataFrame, within: String,
      inserted: Long, updated: Long, deleted: Long, notes: String): Committed = {
    val session = rows.sparkSession
    val transaction = begin(session, path, readVersion)
    val predicate = session.sessionState.sqlParser.parseExpression(within)
    val added = if (inserted + updated > 0) transaction.writeFiles(rows) else Nil
    val (marks, marked) =
      if (updated + deleted > 0) mark(session, transaction, superseded, predicate)
      else (Nil, Map.empty[String, Long].withDefaultValue(0L))
    val addedRows = added.collect { case file: AddFile => file.numLogicalRecords.get }.sum
    val markedRows = marked("numModifiedRows")
    if (addedRows != inserted + updated || markedRows != updated + deleted)
      throw new WrongCountsException(addedRows, markedRows)
    note(session, transaction, Map(
      "numSourceRows" -> (inserted + updated + deleted),
      "numTargetRowsInserted" -> inserted,
      "numTargetRowsUpdated" -> updated,
      "numTargetRowsDeleted" -> deleted,
      "numTargetRowsCopied" -> 0L,
      "numOutputRows" -> addedRows,
      "numTargetFilesAdded" -> added.size.toLong,
      "numTargetFilesRemoved" -> marked("numRemovedFiles"),
      "numTargetDeletionVectorsAdded" -> marked("numDeletionVectorsAdded"),
      "numTargetDeletionVectorsUpdated" -> marked("numDeletionVectorsUpdated"),
      "numTargetDeletionVectorsRemoved" -> marked("numDeletionVectorsRemoved")))
    finish(transaction, added ++ marks, new RowChange(predicate, notes))
  }

  /** Replace all rows and set properties, in one commit that directly follows a version. */
  def replaceAll(path: String, readVersion: Long, rows: DataFrame, properties: JavaMap[String, String],
      notes: String): Committed = {
    val transaction = begin(rows.sparkSession, path, readVersion)
    val metadata = transaction.metadata
    transaction.updateMetadata(metadata.copy(configuration = metadata.configuration ++ properties.asScala))
    val added = transaction.writeFiles(rows)
    val removed = transaction.filterFiles().map(_.remove)
    finish(transaction, added ++ removed, DeltaOperations.Write(SaveMode.Overwrite, userMetadata = Some(notes)))
  }

  /** Create an empty table in one commit, unless there is one, or another process creates it at the same time.
    *
    * Delta's own builder refuses a folder that is not empty: it fails beside another process that creates the table,
    * and after one that was killed while it did. There is only one commit 0, so nothing needs that check.
    */
  def createTable(session: SparkSession, path: String, schema: String, partitionColumns: JavaList[String],
      properties: JavaMap[String, String]): Unit = {
    val transaction = DeltaLog.forTable(session, path).startTransaction(None, None)
    if (transaction.readVersion < 0) {
      val metadata = transaction.metadata.copy(schemaString = schema,
        partitionColumns = partitionColumns.asScala.toSeq, configuration = properties.asScala.toMap)
      transaction.updateMetadataForNewTable(metadata)
      try transaction.commit(Nil, DeltaOperations.CreateTable(metadata, isManaged = false))
      catch { case _: DeltaConcurrentModificationException => () }
    }
  }

  private def begin(session: SparkSession, path: String, readVersion: Long): OptimisticTransaction = {
    val transaction = DeltaLog.forTable(session, path).startTransaction(None, None)
    if (transaction.readVersion != readVersion) throw new OvertakenException(null)
    // Whatever another writer adds meanwhile was not read.
    transaction.readWholeTable()
    transaction
  }

  /** Write the deletion vectors; return the actions for them, and Delta's counts of what they mark. */
  private def mark(session: SparkSession, transaction: OptimisticTransaction, superseded: DataFrame,
      predicate: Expression): (Seq[Action], Map[String, Long]) = {
    val files = transaction.filterFiles(Seq(predicate), keepNumRecords = true)
    val rows = DeletionVectorBitmapGenerator.buildRowIndexSetsForFilesMatchingCondition(session, transaction,
      tableHasDVs = true, superseded, files, Literal.TrueLiteral, Some(col("file")), Some(col("row_index")))
    val byName = DMLWithDeletionVectorsHelper.generateCandidateFileMap(transaction.deltaLog.dataPath, files)
    val touched = DMLWithDeletionVectorsHelper.findFilesWithMatchingRows(transaction, byName, rows)
    val prefixLength = StatsCollectionUtils.getDataSkippingStringPrefixLength(session, transaction.metadata)
    DMLWithDeletionVectorsHelper.processUnmodifiedData(session, touched, transaction.snapshot, prefixLength)
  }

  /** Show numbers in the table's history. */
  private def note(session: SparkSession, transaction: OptimisticTransaction, numbers: Map[String, Long]): Unit =
    transaction.registerSQLMetrics(session, numbers.map { case (name, number) =>
      val metric = SQLMetrics.createMetric(session.sparkContext, name)
      metric.set(number)
      name -> metric
    })

  /** Commit, with the number that all writers of one version share, so that Delta fails all but one of them. */
  private def finish(transaction: OptimisticTransaction, actions: Seq[Action], operation: DeltaOperations.Operation) = {
    transaction.txnVersion(Application)
    val number = SetTransaction(Application, transaction.readVersion + 1, Some(System.currentTimeMillis()))
    try Committed(transaction.commit(actions :+ number, operation), transaction.txnId)
    catch { case error: DeltaConcurrentModificationException => throw new OvertakenException(error) }
  }

  /** How the commit of changed rows is named in the table's history; its numbers have the names of a MERGE's. */
  private class RowChange(predicate: Expression, notes: String)
      extends DeltaOperations.OperationWithPredicates("ROW COMMIT", Seq(predicate)) {
    override val operationMetrics: Set[String] =
      Set("numSourceRows", "numOutputRows", "numTargetFilesAdded", "numTargetFilesRemoved") ++
        Set("Inserted", "Updated", "Deleted", "Copied").map("numTargetRows" + _) ++
        Set("Added", "Updated", "Removed").map("numTargetDeletionVectors" + _)
    override val userMetadata: Option[String] = Some(notes)
    override def changesData: Boolean = true
    // Files get deletion vectors here, so their statistics must be noted as bounds that need not be reached.
    override def checkAddFileWithDeletionVectorStatsAreNotTightBounds: Boolean = true
    override val isInPlaceFileMetadataUpdate: Option[Boolean] = Some(false)
    override def canChangePartitionColumns: Boolean = false
  }
}
